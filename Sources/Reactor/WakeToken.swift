/// What a ready descriptor means: the reactor's own bell, a device's completion, or (every other
/// value) the kick of the poller with that number.
enum WakeToken {
    static let bell: UInt64 = 0
    static let device: UInt64 = 1 << 32
}
