internal import NVMe
internal import VirtioBlk

/// Who hears that a driver has rung a doorbell.
protocol KickListener: AnyObject {
    func kick()
}

extension MirroredQueue: KickListener {}
extension MirroredIOQueue: KickListener {}
extension MirroredAdminQueue: KickListener {}
