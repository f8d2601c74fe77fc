/// How a queue interrupts its driver. One dynamic call per interrupt.
public protocol InterruptLine: AnyObject {
    /// - Returns: false when the other side does not take it and the queue must fail.
    func raise() -> Bool
}
