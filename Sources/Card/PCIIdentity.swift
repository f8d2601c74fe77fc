internal import Hardware

/// What a function tells the host about itself in its PCI configuration space.
public struct PCIIdentity: Equatable, Sendable {
    public var vendorID: UInt16
    public var deviceID: UInt16
    public var subsystemVendorID: UInt16
    public var subsystemID: UInt16
    public var revisionID: UInt8
    /// 24 bits.
    public var classCode: UInt32

    public init(
        vendorID: UInt16, deviceID: UInt16, subsystemVendorID: UInt16, subsystemID: UInt16,
        revisionID: UInt8, classCode: UInt32
    ) {
        self.vendorID = vendorID
        self.deviceID = deviceID
        self.subsystemVendorID = subsystemVendorID
        self.subsystemID = subsystemID
        self.revisionID = revisionID
        self.classCode = classCode
    }

    /// A virtio 1.x block device (Virtio 1.2 §4.1.2).
    public static let virtioBlk = PCIIdentity(
        vendorID: 0x1AF4, deviceID: 0x1042, subsystemVendorID: 0x1AF4, subsystemID: 2,
        revisionID: 1, classCode: 0x010000)
    public static let nvme = PCIIdentity(
        vendorID: 0x15B3, deviceID: 0x6001, subsystemVendorID: 0x15B3, subsystemID: 0,
        revisionID: 0, classCode: 0x010802)
}

extension PCIIdentity {
    /// What `request` says, and `standard` where it says nothing.
    init(_ request: FunctionRequest, else standard: PCIIdentity) {
        self.init(
            vendorID: request.vendorID ?? standard.vendorID,
            deviceID: request.deviceID ?? standard.deviceID,
            subsystemVendorID: request.subsystemVendorID ?? standard.subsystemVendorID,
            subsystemID: request.subsystemID ?? standard.subsystemID,
            revisionID: request.revisionID ?? standard.revisionID,
            classCode: request.classCode ?? standard.classCode)
    }
}
