internal import CWire
internal import Memory
public import Platform

/// A vfio-user client: what a VMM does, for tests, our own driver and figures. Blocking; one thread.
public final class VFIOUserClient {
    /// One region as its server describes it.
    public struct Region: Sendable {
        public let index: Int
        public let byteCount: UInt64
        /// What may be mapped; empty when only messages reach the region.
        public let areas: [Area]
    }

    /// Part of a region that may be mapped.
    public struct Area: Sendable {
        /// In bytes from the start of the region.
        public let offset: UInt64
        public let byteCount: UInt64
        let file: SharedDescriptor
        let fileOffset: UInt64
    }

    /// Connects to a server's socket and agrees on the protocol.
    /// - Parameter patienceMilliseconds: how long each answer may take.
    public init(path: String, patienceMilliseconds: Int32 = 10_000) throws(VFIOUserError) {
        throw VFIOUserError(ErrorNumber.notSupported, "unsupported")
    }

    public func region(_ index: Int) throws(VFIOUserError) -> Region {
        throw VFIOUserError(ErrorNumber.notSupported, "unsupported")
    }

    public func vectorCount() throws(VFIOUserError) -> Int {
        throw VFIOUserError(ErrorNumber.notSupported, "unsupported")
    }

    /// Maps part of a region.
    public func map(_ area: Area) throws(VFIOUserError) -> Mapping {
        throw VFIOUserError(ErrorNumber.notSupported, "unsupported")
    }

    /// Lets the device reach part of a memory file at `address`.
    public func mapMemory(
        address: UInt64, byteCount: UInt64, file: SharedDescriptor?, fileOffset: UInt64
    ) throws(VFIOUserError) {
        throw VFIOUserError(ErrorNumber.notSupported, "unsupported")
    }

    /// Takes it away again; the device no longer uses it when this returns.
    public func unmapMemory(address: UInt64, byteCount: UInt64) throws(VFIOUserError) {
        throw VFIOUserError(ErrorNumber.notSupported, "unsupported")
    }

    /// Sets the eventfds of the MSI-X vectors from `first` on.
    public func setInterrupts(first: Int, _ events: [SharedDescriptor]) throws(VFIOUserError) {
        throw VFIOUserError(ErrorNumber.notSupported, "unsupported")
    }

    /// Takes all eventfds away.
    public func disableInterrupts() throws(VFIOUserError) {
        throw VFIOUserError(ErrorNumber.notSupported, "unsupported")
    }

    /// - Parameter byteCount: 1, 2, 4 or 8.
    public func readRegister(
        region: Int, offset: Int, byteCount: Int
    ) throws(VFIOUserError) -> UInt64 {
        throw VFIOUserError(ErrorNumber.notSupported, "unsupported")
    }

    /// - Parameter isPosted: returns once the message is sent.
    public func writeRegister(
        region: Int, offset: Int, byteCount: Int, value: UInt64, isPosted: Bool = false
    ) throws(VFIOUserError) {
        throw VFIOUserError(ErrorNumber.notSupported, "unsupported")
    }

    public func readConfiguration(offset: Int, byteCount: Int) throws(VFIOUserError) -> UInt64 {
        throw VFIOUserError(ErrorNumber.notSupported, "unsupported")
    }

    public func writeConfiguration(
        offset: Int, byteCount: Int, value: UInt64
    ) throws(VFIOUserError) {
        throw VFIOUserError(ErrorNumber.notSupported, "unsupported")
    }

    /// Resets the device; nothing of before is under way when this returns.
    public func reset() throws(VFIOUserError) {
        throw VFIOUserError(ErrorNumber.notSupported, "unsupported")
    }
}
