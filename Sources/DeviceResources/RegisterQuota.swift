/// How the user library deals out doorbell registers within one context.
///
/// A 4 KiB register page has two registers for ordinary use, and a larger system page holds
/// several of those. A context may take `dedicatedPages` whose registers serve one queue pair each;
/// when those are gone it takes up to `sharedPages` more, whose registers serve any number.
struct RegisterQuota: Sendable, Equatable {
    let registersPerPage: Int
    let dedicatedPages: Int
    let sharedPages: Int

    /// 64 KiB pages: 32 registers a page, one dedicated page, one shared.
    /// 4 KiB pages: 2 registers a page, two dedicated pages, six shared.
    init(_ pageSize: RDMADevice.PageSize) {
        registersPerPage = pageSize.rawValue / 4096 * 2
        let total = max(registersPerPage, 16)
        let dedicated = max(4, total - 12)
        dedicatedPages = Self.pages(dedicated, registersPerPage)
        sharedPages = Self.pages(total - dedicated, registersPerPage)
    }

    private static func pages(_ registers: Int, _ perPage: Int) -> Int {
        (registers + perPage - 1) / perPage
    }
}
