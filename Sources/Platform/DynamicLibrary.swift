internal import Glibc

/// Libraries that are loaded by a path (dlopen(3)).
public enum DynamicLibrary {
    /// Loads the library at `path`, which stays.
    /// - Returns: why that failed, in the loader's words; nil when it is loaded.
    public static func load(_ path: String) -> String? {
        if unsafe dlopen(path, RTLD_NOW | RTLD_LOCAL) != nil { return nil }
        guard let text = unsafe dlerror() else { return "\(path): cannot be loaded" }
        return unsafe String(cString: text)
    }
}
