internal import Platform

/// What the machine has, from /proc/meminfo.
enum SystemMemory {
    /// Nil when the kernel does not say.
    static var byteCount: UInt64? {
        guard let bytes = try? FileSystem.contents(of: "/proc/meminfo", limit: 65536) else {
            return nil
        }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
        let words = lines.first { $0.hasPrefix("MemTotal:") }?.split(separator: " ")
        guard let words, words.count >= 2 else { return nil }
        return UInt64(words[1]).map { $0 * 1024 }
    }
}
