/// The answers of one batch, collected in the order in which they come.
final class RPCBatch {
    private var remaining: Int
    private var list: [UInt8] = []

    /// - Precondition: `count` is not 0.
    init(count: Int) { remaining = count }

    /// Takes the answer of one element, nil when it has none.
    /// - Returns: the line of the batch with the last answer, if there is anything to say.
    func add(_ answer: [UInt8]?) -> [UInt8]? {
        remaining -= 1
        if let answer {
            list.append(UInt8(ascii: list.isEmpty ? "[" : ","))
            list += answer
        }
        return remaining == 0 && !list.isEmpty ? list + [UInt8(ascii: "]")] : nil
    }
}
