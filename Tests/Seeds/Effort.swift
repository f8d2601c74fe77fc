internal import Platform

/// How often a test repeats what takes long.
public enum Effort {
    /// `SOFTSNAP_SLOW=n` in the environment divides by n: sanitizers slow everything down as much.
    private static let divisor =
        ProcessFacts.environment("SOFTSNAP_SLOW").flatMap(Int.init).map { max(1, $0) } ?? 1

    /// Whether an atomic store may fault. In ThreadSanitizer's runtime, which `SOFTSNAP_SANITIZER`
    /// names, it would fault under a lock that the handler's system calls want, too.
    public static let survivesAtomicFaults =
        ProcessFacts.environment("SOFTSNAP_SANITIZER") != "thread"

    /// `count` times, or less where everything is slow; `least` times at least, where fewer would
    /// show nothing.
    public static func of(_ count: Int, atLeast least: Int = 1) -> Int {
        max(least, count / divisor)
    }
}
