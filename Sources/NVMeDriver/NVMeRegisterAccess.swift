public import Memory
public import Platform

/// How the driver reaches its function: registers in BAR0, memory for DMA, interrupts.
///
/// Used by one thread at a time.
public protocol NVMeRegisterAccess: AnyObject {
    /// The doorbells, when they may be stored into: byte 0 is queue 0's submission tail. Nil when
    /// only writes of registers reach them. Valid while this object lives.
    var doorbellPage: SharedBytes? { get }

    /// - Parameter byteCount: 4 or 8.
    func readRegister(at offset: Int, byteCount: Int) throws(NVMeDriverError) -> UInt64
    func writeRegister(_ value: UInt64, at offset: Int, byteCount: Int) throws(NVMeDriverError)

    /// Writes a doorbell register without waiting for it.
    /// - Returns: false when the device is gone.
    func ring(_ value: UInt32, at offset: Int) -> Bool

    /// Lets the device be a bus master, and reach `memory` from then on.
    func grant(_ memory: DMAMemory) throws(NVMeDriverError)

    /// Gives an MSI-X vector its eventfd.
    func setInterrupt(_ vector: Int, _ event: SharedDescriptor) throws(NVMeDriverError)
}
