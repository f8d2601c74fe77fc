public import Platform

/// Storage that moves data from and to host memory by itself: it is told what is mapped.
public protocol HostMemoryUser: AnyObject, Sendable {
    /// The memory of `mapping` may be in requests from now on, until the last holder of what is
    /// returned lets it go: the user reaches it no more when that has returned.
    func admit(_ mapping: Mapping) -> any AnyObject & Sendable
}
