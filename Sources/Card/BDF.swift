/// PCI addresses that the built-in host gives: `bb:dd.f`, without domain.
///
/// Static PFs stand on bus 0x20, VFs on 0x28 and the buses behind it, and each hot-plug PF alone on
/// the bus behind its switch port (0x60 and its slot).
enum BDF {
    /// A function that no host has enumerated.
    static let none = "00:00.0"

    static func staticPF(_ index: Int) -> String { address(bus: 0x20 + index / 256, index % 256) }
    static func vf(_ index: Int) -> String { address(bus: 0x28 + index / 256, index % 256) }
    static func hotplug(slot: Int) -> String { address(bus: 0x60 + slot, 0) }

    private static func address(bus: Int, _ rest: Int) -> String {
        "\(hex(bus)):\(hex(rest / 8)).\(rest % 8)"
    }

    private static func hex(_ value: Int) -> String {
        let digits = String(value, radix: 16)
        return digits.utf8.count < 2 ? "0" + digits : digits
    }
}
