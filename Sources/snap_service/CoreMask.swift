/// The cores that SPDK's `-m` names: a hexadecimal mask, or a list with ranges in brackets.
struct CoreMask {
    let cores: [Int]

    /// Nil when the text is neither, or names no core.
    init?(_ text: String) {
        if text.hasPrefix("["), text.hasSuffix("]") {
            guard let cores = CoreMask.list(text.dropFirst().dropLast()) else { return nil }
            self.cores = cores
        } else {
            let digits =
                text.hasPrefix("0x") || text.hasPrefix("0X") ? text.dropFirst(2) : text[...]
            guard let cores = CoreMask.mask(digits) else { return nil }
            self.cores = cores
        }
    }

    private static func mask(_ digits: Substring) -> [Int]? {
        guard !digits.isEmpty, digits.count <= 256 else { return nil }
        var cores: [Int] = []
        for (place, digit) in digits.reversed().enumerated() {
            guard let value = digit.hexDigitValue else { return nil }
            for bit in 0..<4 where value & (1 << bit) != 0 { cores.append(4 * place + bit) }
        }
        return cores.isEmpty ? nil : cores
    }

    private static func list(_ text: Substring) -> [Int]? {
        var cores: Set<Int> = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard let first = ends.first ?? nil, let last = ends.last ?? nil, ends.count <= 2,
                first >= 0, first <= last, last < 1024
            else { return nil }
            cores.formUnion(first...last)
        }
        return cores.isEmpty ? nil : cores.sorted()
    }
}
