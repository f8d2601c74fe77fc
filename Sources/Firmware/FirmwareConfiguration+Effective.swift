/// What the settings amount to, once dependencies and the device's own choices are counted in.
extension FirmwareConfiguration {
    /// The requirements of `parameter`, and of the parameters it needs, that are not met; while
    /// there are some the parameter is ignored.
    public func unmetRequirements(
        of parameter: FirmwareParameter, port: CardPort = .first
    ) -> [FirmwareDefinition.Requirement] {
        var unmet: [FirmwareDefinition.Requirement] = []
        for requirement in parameter.definition.requirements {
            let here = requirement.isMet(by: self[requirement.parameter, port])
            let above = unmetRequirements(of: requirement.parameter, port: port)
            for missing in (here ? [] : [requirement]) + above where !unmet.contains(missing) {
                unmet.append(missing)
            }
        }
        return unmet
    }

    /// The value that the device acts on.
    ///
    /// A parameter whose requirements are not met (those of the parameters it needs included) has
    /// no say: the device takes its own choice. Nor has a 0 that means "as the device likes".
    public func effective(_ parameter: FirmwareParameter, port: CardPort = .first) -> UInt64 {
        let definition = parameter.definition
        if !unmetRequirements(of: parameter, port: port).isEmpty {
            if let value = definition.ignoredValue { return value }
            return choice(definition, for: definition.defaultValue, port)
        }
        return choice(definition, for: self[parameter, port], port)
    }

    private func choice(
        _ definition: FirmwareDefinition, for value: UInt64, _ port: CardPort
    ) -> UInt64 {
        switch definition.choiceForZero {
        case .value(let own)? where value == 0: own
        case .same(let other)? where value == 0: effective(other, port: port)
        default: value
        }
    }

    /// A parameter that was set and does not count, and what it waits for.
    public struct Ignored: Sendable, Equatable, CustomStringConvertible {
        public let parameter: FirmwareParameter
        public let value: String
        public let unmet: [FirmwareDefinition.Requirement]
        let found: [String]

        /// `PF_TOTAL_SF=236 is ignored: it needs PER_PF_NUM_SF=1 (now False(0))`
        public var description: String {
            let needs = zip(unmet, found).map { "\($0) (now \($1))" }
            return "\(parameter)=\(value) is ignored: it needs \(needs.joined(separator: " and "))"
        }
    }

    /// The parameters of `port` that ask for something and are ignored. One that nobody has set
    /// asks for nothing, but for a switch that stands on by itself.
    public func ignored(on port: CardPort) -> [Ignored] {
        FirmwareParameter.allCases.compactMap { parameter in
            let definition = parameter.definition
            let value = self[parameter, port]
            let isOn = definition.kind == .boolean && value != definition.ignoredValue ?? value
            guard value != definition.defaultValue || isOn else { return nil }
            let unmet = unmetRequirements(of: parameter, port: port)
            guard !unmet.isEmpty else { return nil }
            return Ignored(
                parameter: parameter, value: "\(value)", unmet: unmet,
                found: unmet.map { $0.parameter.definition.text(of: self[$0.parameter, port]) })
        }
    }

    /// KiB of BAR that one SF of `port` gets.
    public func subfunctionBARKiB(of port: CardPort) -> Int {
        1 << Int(effective(.pfSubfunctionBARSize, port: port))
    }

    /// For refusals: what decides the BAR of an SF of `port`, as it is, and how to enlarge it.
    public func subfunctionBARAdvice(for port: CardPort) -> String {
        let deciding: [FirmwareParameter] = [
            .pfBAR2Enable, .perPFSubfunctions, .pfSubfunctionCount, .pfSubfunctionBARSize,
        ]
        let current = deciding.map { "\($0)=\($0.definition.text(of: self[$0, port]))" }
        return "now \(current.joined(separator: " ")); run: softdpu mlxconfig -d "
            + "0000:03:00.\(port.rawValue) set PF_BAR2_ENABLE=0 PER_PF_NUM_SF=1 PF_TOTAL_SF=236 "
            + "PF_SF_BAR_SIZE=10, then a cold power cycle: softdpu power-cycle"
    }

    /// Hot-plugged PFs that fit: the switch's ports but the one of the static PFs; 0 without one.
    public var hotplugPFCount: Int { max(0, Int(effective(.pciSwitchPortCount)) - 1) }

    /// Entries of an NVMe queue at most, 2 to 4,096; what 0 stands for while NVMe is off.
    public var nvmeQueueSize: Int {
        let exponent = Int(effective(.nvmeMaxQueueDepth))
        return 1 << (exponent == 0 ? 10 : exponent)
    }

    public var isSRIOVEnabled: Bool { effective(.sriovEnable) == 1 }

    /// The static functions of one protocol. Counts are 0 while its emulation is off.
    public struct StaticFunctions: Sendable, Equatable {
        public var pfCount: Int
        /// VFs of each PF; 0 without SR-IOV.
        public var vfCount: Int
        public var pfVectorCount: Int
        public var vfVectorCount: Int
        public var identity: PCIIdentity
    }

    /// What a function's PCI configuration space says it is.
    public struct PCIIdentity: Sendable, Equatable {
        public var vendorID: UInt16
        public var deviceID: UInt16
        public var classCode: UInt32
        public var revisionID: UInt8
        public var subsystemVendorID: UInt16
        public var subsystemID: UInt16
    }

    public var virtioBlk: StaticFunctions {
        StaticFunctions(
            pfCount: Int(effective(.virtioBlkPFCount)), vfCount: Int(effective(.virtioBlkVFCount)),
            pfVectorCount: Int(effective(.virtioBlkVectorCount)),
            vfVectorCount: Int(effective(.virtioBlkVFVectorCount)),
            identity: PCIIdentity(
                vendorID: UInt16(effective(.virtioBlkVendorID)),
                deviceID: UInt16(effective(.virtioBlkDeviceID)),
                classCode: UInt32(effective(.virtioBlkClassCode)),
                revisionID: UInt8(effective(.virtioBlkRevisionID)),
                subsystemVendorID: UInt16(effective(.virtioBlkSubsystemVendorID)),
                subsystemID: UInt16(effective(.virtioBlkSubsystemID))))
    }

    public var nvme: StaticFunctions {
        StaticFunctions(
            pfCount: Int(effective(.nvmePFCount)), vfCount: Int(effective(.nvmeVFCount)),
            pfVectorCount: Int(effective(.nvmeVectorCount)),
            vfVectorCount: Int(effective(.nvmeVFVectorCount)),
            identity: PCIIdentity(
                vendorID: UInt16(effective(.nvmeVendorID)),
                deviceID: UInt16(effective(.nvmeDeviceID)),
                classCode: UInt32(effective(.nvmeClassCode)),
                revisionID: UInt8(effective(.nvmeRevisionID)),
                subsystemVendorID: UInt16(effective(.nvmeSubsystemVendorID)),
                subsystemID: UInt16(effective(.nvmeSubsystemID))))
    }
}
