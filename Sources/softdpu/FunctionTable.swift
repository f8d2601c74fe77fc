internal import Hardware

/// The card's functions as lines of text, one each, under a heading.
enum FunctionTable {
    private static let heading = [
        "VUID", "TYPE", "PF", "VF", "BDF", "MSIX", "STATE", "DRIVER", "VM", "CONTROLLER",
    ]

    static func lines(_ functions: [FunctionListing]) -> [String] {
        let rows = [heading] + functions.map(row)
        let widths = heading.indices.map { column in
            rows.map { $0[column].utf8.count }.max() ?? 0
        }
        return rows.map { row in
            zip(row, widths).map { text, width in
                text + String(repeating: " ", count: width - text.utf8.count)
            }.joined(separator: "  ")
        }
    }

    private static func row(_ listing: FunctionListing) -> [String] {
        let identity = listing.identity
        let state = listing.hotplugState?.rawValue ?? (listing.isEnabled ? "POWER_ON" : "DISABLED")
        return [
            identity.vuid, identity.kind.rawValue, String(identity.pfIndex),
            identity.vfIndex.map { String($0) } ?? "-", identity.bdf,
            String(identity.vectorCount), state, listing.isDriverBound ? "bound" : "-",
            listing.isHostConnected ? "connected" : "-", listing.controller ?? "-",
        ]
    }
}
