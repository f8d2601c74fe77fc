internal import Memory

/// What a service leaves to the next one about a controller, besides its queues: features, shadow
/// doorbells, the namespaces that its driver knows, and what it has not been told yet.
extension ControllerModel {
    private static let recordVersion: UInt64 = 1
    /// Namespaces that a record lists; of those beyond the driver is told again.
    private static let listedNamespaces = 64

    /// For `NVMeMemory.storeControllerRecord`.
    public var record: [UInt8] {
        var words: [UInt64] = [
            Self.recordVersion, shadowDoorbells?.values ?? 0, shadowDoorbells?.eventIndexes ?? 0,
            UInt64(features.arbitration), UInt64(features.temperatures[0]),
            UInt64(features.temperatures[1]), UInt64(features.errorRecovery),
            UInt64(features.interruptCoalescing), UInt64(features.writeAtomicity),
            UInt64(features.asyncEvents),
        ]
        let vectors = features.uncoalescedVectors.sorted().prefix(64)
        let changed = events.changedNamespaces.prefix(128)
        words += [UInt64(vectors.count)] + vectors.map(UInt64.init)
        words += [UInt64(changed.count)] + changed.map(UInt64.init)
        let known = namespaces.values.sorted { $0.view.id < $1.view.id }
            .prefix(Self.listedNamespaces)
        words += [UInt64(known.count)] + known.flatMap { [UInt64($0.view.id), $0.view.blockCount] }
        return words.flatMap { ByteLayout.bytes(of: $0) } + features.hostIdentifier
    }

    /// Identifiers of the namespaces that a record lists; empty when it is not one of ours.
    public static func namespaces(in record: [UInt8]) -> [UInt32] {
        var reader = WordReader(record)
        guard reader.next(10)?.first == recordVersion, let vectorCount = reader.next(),
            reader.next(Int(min(vectorCount, 65))) != nil, let changedCount = reader.next(),
            reader.next(Int(min(changedCount, 129))) != nil, let knownCount = reader.next(),
            let known = reader.next(2 * Int(min(knownCount, UInt64(listedNamespaces) + 1)))
        else { return [] }
        return stride(from: 0, to: known.count - 1, by: 2).map {
            UInt32(truncatingIfNeeded: known[$0])
        }
    }

    /// Takes over what a predecessor left: its record and the queues that its driver has created.
    /// - Returns: false, with nothing taken, when the record is not one of ours.
    public mutating func restore(_ record: [UInt8], from memory: NVMeMemory) -> Bool {
        var reader = WordReader(record)
        guard reader.next() == Self.recordVersion, let values = reader.next(),
            let eventIndexes = reader.next()
        else { return false }
        var features = Features()
        guard let numbers = reader.next(7), let vectorCount = reader.next(),
            let vectors = reader.next(Int(min(vectorCount, 65))),
            let changedCount = reader.next(),
            let changed = reader.next(Int(min(changedCount, 129))),
            let knownCount = reader.next(),
            let known = reader.next(2 * Int(min(knownCount, UInt64(Self.listedNamespaces) + 1))),
            reader.rest.count == 16
        else { return false }
        features.arbitration = UInt32(truncatingIfNeeded: numbers[0])
        features.temperatures = numbers[1...2].map { UInt32(truncatingIfNeeded: $0) }
        features.errorRecovery = UInt32(truncatingIfNeeded: numbers[3])
        features.interruptCoalescing = UInt32(truncatingIfNeeded: numbers[4])
        features.writeAtomicity = UInt32(truncatingIfNeeded: numbers[5])
        features.asyncEvents = UInt32(truncatingIfNeeded: numbers[6])
        features.uncoalescedVectors = Set(vectors.map { UInt16(truncatingIfNeeded: $0) })
        features.hostIdentifier = Array(reader.rest)
        reset()
        self.features = features
        if values != 0 {
            shadowDoorbells = ShadowDoorbells(values: values, eventIndexes: eventIndexes)
        }
        // The predecessor may have died before it told of them; to be told twice is harmless.
        for id in changed { namespaceChanged(UInt32(truncatingIfNeeded: id)) }
        tellWhatChanged(since: known)
        for id in 1..<UInt16(max(1, memory.queueCount)) {
            if let queue = memory.completionQueue(id) { createdCompletionQueue(id, queue) }
            if let queue = memory.submissionQueue(id) { createdSubmissionQueue(id, queue) }
        }
        return true
    }

    /// Namespaces that came, went or have another size while no service was there.
    /// - Parameter known: identifier and block count of each that the driver knows.
    private mutating func tellWhatChanged(since known: [UInt64]) {
        var left: [UInt32: UInt64] = [:]
        for index in stride(from: 0, to: known.count - 1, by: 2) {
            left[UInt32(truncatingIfNeeded: known[index])] = known[index + 1]
        }
        for (id, facts) in namespaces.sorted(by: { $0.key < $1.key })
        where left.removeValue(forKey: id) != facts.view.blockCount {
            namespaceChanged(id)
        }
        for id in left.keys.sorted() { namespaceChanged(id) }
    }
}

private struct WordReader {
    private(set) var rest: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) { rest = bytes[...] }

    mutating func next() -> UInt64? {
        guard let word = ByteLayout.load(UInt64.self, from: Array(rest.prefix(8))) else {
            return nil
        }
        rest = rest.dropFirst(8)
        return word
    }

    mutating func next(_ count: Int) -> [UInt64]? {
        var words: [UInt64] = []
        for _ in 0..<count {
            guard let word = next() else { return nil }
            words.append(word)
        }
        return words
    }
}
