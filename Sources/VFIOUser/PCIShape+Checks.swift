internal import CWire
internal import Platform

/// Where the session's own registers lie, and whether a shape can be.
extension PCIShape {
    private static let pageSize: UInt64 = 4096

    /// Bytes of `bar` that hold the MSI-X table.
    func vectorTableRange(in bar: Int) -> Range<Int> {
        range(vectorTable, in: bar, byteCount: vectorCount * MemoryLayout<pci_msix_vector>.size)
    }

    /// Bytes of `bar` that hold the pending bits, in words of 64.
    func pendingBitsRange(in bar: Int) -> Range<Int> {
        range(pendingBits, in: bar, byteCount: (vectorCount + 63) / 64 * 8)
    }

    private func range(_ place: Location, in bar: Int, byteCount: Int) -> Range<Int> {
        guard bar == place.bar, vectorCount > 0 else { return 0..<0 }
        return Int(place.offset)..<Int(place.offset) + byteCount
    }

    /// Traps when the shape cannot be: it is ours, not the host's.
    func check() {
        for (bar, byteCount) in bars {
            precondition([0, 2, 4].contains(bar), "BAR \(bar) of a function with 64-bit BARs")
            precondition(
                byteCount >= Self.pageSize && byteCount & (byteCount - 1) == 0
                    && byteCount <= UInt64(1) << 62,
                "BAR \(bar) of \(byteCount) bytes")
        }
        precondition((0...Int(PCI_MSIX_VECTOR_LIMIT)).contains(vectorCount), "vector count")
        precondition(
            vendorCapabilities.allSatisfy {
                $0.count >= 3 && $0[0] == UInt8(PCI_CAPABILITY_VENDOR)
            },
            "a vendor's capability has its id and length")
        if vectorCount > 0 {
            checkVectors(
                vectorTable, byteCount: UInt64(vectorTableRange(in: vectorTable.bar).count))
            checkVectors(
                pendingBits, byteCount: UInt64(pendingBitsRange(in: pendingBits.bar).count))
            precondition(
                !vectorTableRange(in: pendingBits.bar).overlaps(
                    pendingBitsRange(in: pendingBits.bar)), "MSI-X table over its pending bits")
        }
        for index in maps.indices { checkMap(index) }
    }

    private func checkVectors(_ place: Location, byteCount: UInt64) {
        precondition(
            place.offset % 8 == 0 && place.offset <= UInt64(UInt32.max)
                && place.offset + byteCount <= bars[place.bar] ?? 0,
            "MSI-X at \(place.offset) of BAR \(place.bar)")
    }

    /// Whole pages of their BAR and file, apart from each other and from the session's registers.
    private func checkMap(_ index: Int) {
        let area = maps[index]
        let size = bars[area.bar] ?? 0
        precondition(
            area.byteCount > 0
                && (area.offset | area.byteCount | area.fileOffset) % Self.pageSize == 0
                && area.offset <= size && area.byteCount <= size - area.offset,
            "area at \(area.offset) of BAR \(area.bar)")
        precondition(
            (area.file.sharedMemoryByteCount ?? 0) >= area.byteCount
                && (area.file.sharedMemoryByteCount ?? 0) - area.byteCount >= area.fileOffset,
            "area past the end of its file")
        let range = Int(area.offset)..<Int(area.offset + area.byteCount)
        precondition(
            !range.overlaps(vectorTableRange(in: area.bar))
                && !range.overlaps(pendingBitsRange(in: area.bar)), "area over the MSI-X table")
        for other in maps[..<index] where other.bar == area.bar {
            precondition(
                other.file === area.file
                    && other.fileOffset &- other.offset == area.fileOffset &- area.offset,
                "areas of one BAR at different distances")
            precondition(
                !range.overlaps(Int(other.offset)..<Int(other.offset + other.byteCount)),
                "areas of one BAR overlap")
        }
    }
}
