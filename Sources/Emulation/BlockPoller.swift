internal import Bdev
internal import Platform
internal import Reactor
internal import VirtioBlk

/// A block queue on its reactor, on either data path, as its controller sees it. Confined to the
/// reactor's thread.
protocol BlockPoller: Poller {
    var size: Int { get }
    var position: VirtqueuePosition { get }
    /// Requests under way.
    var outstanding: Int { get }

    /// Whether host memory can no longer be reached, and nothing is under way.
    var isLost: Bool { get }

    /// Takes nothing more; what is under way is answered.
    func drain()
    /// The driver has taken its ring back; nothing is answered.
    func discard()
    func resume()
    /// Calls `report` when nothing is under way any more, perhaps at once.
    func whenDrained(_ report: @escaping () -> Void)
    func abandonHeld()
    func setShape(_ shape: BlockShape)
    /// Exchanges the block device. The queue is drained.
    func attach(_ channel: BlockChannel?, shape: BlockShape, identifier: [UInt8])
    func setDirtyMarks(_ marks: DirtyMarks?)
    /// Exchanges the interrupt, and raises the new one once.
    func exchange(call: SharedDescriptor?)
    /// It is polled no more.
    func end()
}
