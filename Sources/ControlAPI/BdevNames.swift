internal import Bdev
internal import Platform
internal import Synchronization

/// Names of bdevs that are being made: taken, but not there yet.
final class BdevNames: Sendable {
    private let reserved = Mutex<Set<String>>([])

    /// One reservation; it ends with `end`, or when it is dropped.
    final class Claim: Sendable {
        private let names: BdevNames
        private let held: [String]

        fileprivate init(_ names: BdevNames, _ held: [String]) {
            self.names = names
            self.held = held
        }

        deinit { end() }

        func end() { names.reserved.withLock { $0.subtract(held) } }
    }

    /// EEXIST: one of them is taken.
    func reserve(_ names: [String], in bdevs: BdevRegistry) throws(BdevError) -> Claim {
        let isFree = reserved.withLock { reserved in
            guard reserved.isDisjoint(with: names) else { return false }
            reserved.formUnion(names)
            return true
        }
        guard isFree else { throw BdevError(ErrorNumber.exists, "\(names) are being made") }
        let claim = Claim(self, names)
        for name in names {
            let isDefined = bdevs.definitions.contains { $0.name == name }
            if isDefined || (try? bdevs.device(name)) != nil {
                throw BdevError(ErrorNumber.exists, "\(name) exists")
            }
        }
        return claim
    }
}
