internal import Emulation
internal import Hardware
internal import Platform

/// A function that a call has selected, among the others.
struct SelectedFunction {
    let listing: FunctionListing
    let tree: FunctionTree

    var identity: FunctionIdentity { listing.identity }
    var vuid: String { identity.vuid }
    var pf: FunctionListing? { tree.pf(of: listing) }
}

extension StorageContext {
    /// The function that a call selects, by exactly one of `selectors`.
    ///
    /// - Parameter kind: the only one to look for; nil takes either.
    func function(
        _ parameters: Parameters, by selectors: [String], kind: FunctionIdentity.Kind?
    ) async throws(ControllerError) -> SelectedFunction {
        let given = selectors.filter(parameters.has)
        guard given.count == 1, let selector = given.first else {
            throw ControllerError(
                ErrorNumber.invalid,
                "give one of \(selectors.joined(separator: ", ")) to name the function; "
                    + "\(given.isEmpty ? "none" : given.joined(separator: ", ")) was given")
        }
        // Two hundred controllers are made in linear time.
        if selector == "pf_id", let index = Int(exactly: parameters.unsigned(selector)) {
            let family = try await functions(ofPF: index)
            let match = family.all.first {
                $0.identity.isSelected(by: selector, parameters)
                    && (kind == nil || $0.identity.kind == kind)
            }
            if let match { return SelectedFunction(listing: match, tree: family) }
        }
        let tree = try await functions()
        let found = tree.all.filter { $0.identity.isSelected(by: selector, parameters) }
        if let match = found.first(where: { kind == nil || $0.identity.kind == kind }) {
            return SelectedFunction(listing: match, tree: tree)
        }
        if let other = found.first, let kind, selector != "pf_id" {
            throw ControllerError(
                ErrorNumber.noDevice,
                "function \(other.identity.vuid) is \(other.identity.kind.text), not \(kind.text)")
        }
        throw tree.nothingFound(selector, parameters, kind)
    }
}

extension FunctionIdentity {
    fileprivate func isSelected(by selector: String, _ parameters: Parameters) -> Bool {
        switch selector {
        case "vuid": vuid == parameters.string("vuid")
        case "vhca_id": UInt64(vhcaID) == parameters.unsigned("vhca_id")
        case "pf_id":
            UInt64(pfIndex) == parameters.unsigned("pf_id")
                && vfIndex.map { UInt64($0) } == parameters.wantedVF
        // "00:00.0" names every function that no host has enumerated, so it names none.
        default: bdf == parameters.string("pci_bdf") && bdf != "00:00.0"
        }
    }
}

extension FunctionTree {
    fileprivate func nothingFound(
        _ selector: String, _ parameters: Parameters, _ kind: FunctionIdentity.Kind?
    ) -> ControllerError {
        let value = parameters.text(selector)
        if selector == "pf_id", let wanted = parameters.wantedVF,
            let pf = pfs.first(where: {
                $0.identity.kind == kind
                    && UInt64($0.identity.pfIndex) == parameters.unsigned("pf_id")
            })
        {
            return ControllerError(
                ErrorNumber.noDevice,
                "vf_id \(wanted): PF \(pf.identity.vuid) has \(vfs(of: pf).count) VFs; they count "
                    + "from 0")
        }
        let count = all.count { kind == nil || $0.identity.kind == kind }
        return ControllerError(
            ErrorNumber.noDevice,
            "no \(kind.map { $0.text + " " } ?? "")function has \(selector) \(value); "
                + "emulation_function_list --all shows the \(count) there are")
    }
}

extension Parameters {
    /// Only methods that open controllers select VFs by index.
    fileprivate var wantedVF: UInt64? { has("vf_id") ? unsigned("vf_id") : nil }

    /// A selector's value, as the client gave it.
    fileprivate func text(_ selector: String) -> String {
        switch selector {
        case "vuid", "pci_bdf": "\"\(string(selector).prefix(64))\""
        default: String(unsigned(selector))
        }
    }
}
