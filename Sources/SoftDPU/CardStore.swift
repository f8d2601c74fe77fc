internal import Card
internal import Firmware
internal import Hardware
internal import JSONRPC
internal import Platform

/// What a card boots from: its firmware configuration, and what it was when its process ended.
///
/// In a state directory `firmware` holds the one and `card` the other. A card without a directory
/// boots from its inventory and keeps nothing.
struct CardStore: Sendable {
    /// A card ready to run.
    struct Boot: Sendable {
        var card: Card
        var firmware: FirmwareConfiguration
    }

    private static let fileName = "card"
    private static let text = SealedText(name: "softsnap-card", version: 1)

    private let inventory: Inventory
    private let directory: DiskDirectory?

    init(_ inventory: Inventory) {
        self.inventory = inventory
        directory = inventory.stateDirectory.map { DiskDirectory(path: $0) }
    }

    /// The card as it was, after a restart of its process.
    func boot() throws(HardwareError) -> Boot {
        let firmware = try readFirmware { store throws(FirmwareError) in try store.state().current }
        let configuration = try configuration(firmware)
        guard let snapshot = try readSnapshot() else {
            return Boot(card: Card(configuration), firmware: firmware)
        }
        do throws(HardwareError) {
            return Boot(card: try Card(configuration, restoring: snapshot), firmware: firmware)
        } catch { throw damaged(error.reason) }
    }

    /// A fresh card with what was set for the next boot.
    func coldBoot() throws(HardwareError) -> Boot {
        // Refused before anything changes, when there can be no such card.
        _ = try configuration(
            readFirmware { store throws(FirmwareError) in try store.state().next })
        let firmware = try readFirmware { store throws(FirmwareError) in
            try store.powerCycle().current
        }
        let card = Card(try configuration(firmware))
        try save(card)
        return Boot(card: card, firmware: firmware)
    }

    /// Returns when the card's state is on the medium.
    func save(_ card: Card) throws(HardwareError) {
        guard let directory else { return }
        let bytes = Self.text.seal(CardCoding.encode(card.snapshot).encoded() + [0x0A])
        do {
            try directory.replace(Self.fileName, by: bytes, through: Self.fileName + ".new")
        } catch {
            throw HardwareError(
                error.code,
                "the card's state in \(directory.path) cannot be written: \(error); make room or "
                    + "mend the permissions")
        }
    }

    // --- reading ---

    private func readFirmware(
        _ body: (FirmwareStore) throws(FirmwareError) -> FirmwareConfiguration
    ) throws(HardwareError) -> FirmwareConfiguration {
        guard let directory else { return FirmwareConfiguration() }
        do {
            return try body(FirmwareStore(directory: directory.path))
        } catch { throw HardwareError(ErrorNumber.invalid, "\(error)") }
    }

    private func configuration(
        _ firmware: FirmwareConfiguration
    ) throws(HardwareError) -> CardConfiguration {
        var configuration =
            directory == nil ? inventory.card : CardConfiguration(firmware, inventory.card.serial)
        override(
            \.virtioBlk, of: &configuration, pfs: inventory.virtioBlkPFs,
            vfs: inventory.virtioBlkVFs)
        override(\.nvme, of: &configuration, pfs: inventory.nvmePFs, vfs: inventory.nvmeVFs)
        if let problem = configuration.impossibility {
            throw HardwareError(ErrorNumber.invalid, problem)
        }
        return configuration
    }

    /// What the command line says of a family goes before the firmware.
    private func override(
        _ family: WritableKeyPath<CardConfiguration, CardConfiguration.Family>,
        of configuration: inout CardConfiguration, pfs: Int?, vfs: Int?
    ) {
        let standard = CardConfiguration()[keyPath: family]
        if let pfs {
            configuration[keyPath: family].pfCount = pfs
            // Nor does it give PFs anything while their kind is off.
            if configuration[keyPath: family].pfVectorCount == 0 {
                configuration[keyPath: family].pfVectorCount = standard.pfVectorCount
            }
        }
        guard let vfs else { return }
        configuration[keyPath: family].vfCount = vfs
        // The firmware configuration gives VFs nothing while its SR-IOV is off.
        let hasNone = configuration[keyPath: family].vfVectorCount == 0
        if vfs > 0 && (hasNone || !configuration.hasSRIOV) {
            configuration.hasSRIOV = true
            configuration[keyPath: family].vfVectorCount = standard.vfVectorCount
        }
    }

    private func readSnapshot() throws(HardwareError) -> CardSnapshot? {
        guard let directory else { return nil }
        let bytes: [UInt8]
        do {
            guard let found = try directory.contents(of: Self.fileName) else { return nil }
            bytes = found
        } catch { throw HardwareError(error.code, "\(error)") }
        let body: ArraySlice<UInt8>
        do throws(SealedText.Damage) {
            body = try Self.text.open(bytes)
        } catch { throw damaged(error.reason) }
        guard let value = try? JSONValue.parse(Array(body)),
            let snapshot = CardCoding.snapshot(value)
        else { throw damaged("it holds no card") }
        return snapshot
    }

    private func damaged(_ reason: String) -> HardwareError {
        let path = (directory?.path ?? "") + "/" + Self.fileName
        return HardwareError(
            ErrorNumber.invalid,
            "\(path) is damaged or of another configuration: \(reason); `softdpu power-cycle` "
                + "starts with a fresh card, whose hot-plug functions and vector assignments are "
                + "gone")
    }
}

extension CardConfiguration {
    /// What a firmware configuration makes of a card.
    init(_ firmware: FirmwareConfiguration, _ serial: String) {
        self.init()
        self.serial = serial
        virtioBlk = Family(firmware.virtioBlk, like: virtioBlk)
        nvme = Family(firmware.nvme, like: nvme)
        nvme.queueSizeLimit = firmware.nvmeQueueSize
        hasSRIOV = firmware.isSRIOVEnabled
        switchPortCount = firmware.hotplugPFCount == 0 ? 0 : firmware.hotplugPFCount + 1
    }
}

extension CardConfiguration.Family {
    init(
        _ emulation: FirmwareConfiguration.StaticFunctions, like standard: CardConfiguration.Family
    ) {
        let identity = emulation.identity
        self.init(
            pfCount: emulation.pfCount, vfCount: emulation.vfCount,
            pfVectorCount: emulation.pfVectorCount, vfVectorCount: emulation.vfVectorCount,
            queueLimit: standard.queueLimit, queueSizeLimit: standard.queueSizeLimit,
            pci: PCIIdentity(
                vendorID: identity.vendorID, deviceID: identity.deviceID,
                subsystemVendorID: identity.subsystemVendorID, subsystemID: identity.subsystemID,
                revisionID: identity.revisionID, classCode: identity.classCode))
    }
}
