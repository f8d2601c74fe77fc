/// The device behind the BARs. Called synchronously by the session, for everything in a BAR but
/// the MSI-X table and its pending bits.
///
/// An access lies inside its BAR and is naturally aligned; the session divides what is not. A part
/// of a BAR that the host may map can also be reached this way.
public protocol PCIDevice: AnyObject {
    /// - Parameters:
    ///   - offset: in bytes from the start of the BAR.
    ///   - byteCount: 1, 2, 4 or 8. Only so many low bytes of the result count.
    func readRegister(bar: Int, offset: Int, byteCount: Int) -> UInt64

    /// - Parameters:
    ///   - offset: in bytes from the start of the BAR.
    ///   - byteCount: 1, 2, 4 or 8; the rest of `value` is 0.
    func writeRegister(bar: Int, offset: Int, byteCount: Int, value: UInt64)
}
