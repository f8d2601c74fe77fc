import CWire
import Memory
import Platform

/// PDUs as bytes, as the other end makes them.
enum PDUBytes {
    /// A PDU of a structure that begins with the common header, which is completed here.
    static func make<Layout: BitwiseCopyable>(
        _ type: Int, _ layout: Layout, flags: Int = 0, data: [UInt8] = [], padding: Int = 0,
        headerDigest: Bool = false, dataDigest: Bool = false
    ) -> [UInt8] {
        var bytes = ByteLayout.bytes(of: layout)
        let headerByteCount = bytes.count
        let digestByteCount = headerDigest ? 4 : 0
        let start = data.isEmpty ? 0 : headerByteCount + digestByteCount + padding
        var header = nvme_tcp_header()
        header.type = UInt8(type)
        header.flags = UInt8(flags)
        if headerDigest { header.flags |= 1 }
        if dataDigest && !data.isEmpty { header.flags |= 2 }
        header.header_bytes = UInt8(headerByteCount)
        header.data_offset = UInt8(start)
        let end =
            data.isEmpty
            ? headerByteCount + digestByteCount : start + data.count + (dataDigest ? 4 : 0)
        header.byte_count = UInt32(end)
        bytes.replaceSubrange(0..<8, with: ByteLayout.bytes(of: header))
        if headerDigest { bytes += digest(bytes) }
        if data.isEmpty { return bytes }
        bytes += [UInt8](repeating: 0, count: padding) + data
        if dataDigest { bytes += digest(data) }
        return bytes
    }

    static func digest(_ bytes: [UInt8]) -> [UInt8] {
        // Bit by bit, so that the two ends do not share a mistake.
        var state: UInt32 = 0xFFFF_FFFF
        for byte in bytes {
            state ^= UInt32(byte)
            for _ in 0..<8 { state = state >> 1 ^ (state & 1 == 1 ? 0x82F6_3B78 : 0) }
        }
        return ByteLayout.bytes(of: ~state)
    }

    static func initializeResponse(
        digests: Int = 0, dataAlignment: Int = 0, dataLimit: Int = 1 << 17, version: UInt16 = 0
    ) -> [UInt8] {
        var response = nvme_tcp_icresp()
        response.version = version
        response.digests = UInt8(digests)
        response.data_alignment = UInt8(dataAlignment)
        response.maximum_h2c_data = UInt32(dataLimit)
        return make(NVME_TCP_ICRESP, response)
    }

    static func response(
        _ id: UInt16, status: Int = 0, result: UInt64 = 0, headerDigest: Bool = false
    ) -> [UInt8] {
        struct Capsule: BitwiseCopyable {
            var header = nvme_tcp_header()
            var entry = nvme_cqe()
        }
        var capsule = Capsule()
        capsule.entry.command_id = id
        capsule.entry.status = UInt16(status << 1)
        capsule.entry.result = UInt32(truncatingIfNeeded: result)
        capsule.entry.result_high = UInt32(truncatingIfNeeded: result >> 32)
        return make(NVME_TCP_CAPSULE_RESP, capsule, headerDigest: headerDigest)
    }

    static func data(
        _ id: UInt16, at offset: Int, _ data: [UInt8], flags: Int = 0, padding: Int = 0,
        length: Int? = nil, headerDigest: Bool = false, dataDigest: Bool = false
    ) -> [UInt8] {
        var layout = nvme_tcp_data()
        layout.command_id = id
        layout.offset = UInt32(offset)
        layout.length = UInt32(length ?? data.count)
        return make(
            NVME_TCP_C2H_DATA, layout, flags: flags, data: data, padding: padding,
            headerDigest: headerDigest, dataDigest: dataDigest)
    }

    static func grant(
        _ id: UInt16, tag: UInt16 = 7, at offset: Int, _ byteCount: Int, headerDigest: Bool = false
    ) -> [UInt8] {
        var layout = nvme_tcp_r2t()
        layout.command_id = id
        layout.transfer_tag = tag
        layout.offset = UInt32(offset)
        layout.length = UInt32(byteCount)
        return make(NVME_TCP_R2T, layout, headerDigest: headerDigest)
    }

    /// The whole PDUs at the head of `bytes`, which are taken off.
    static func split(_ bytes: inout [UInt8]) -> [[UInt8]] {
        var found: [[UInt8]] = []
        var start = 0
        while let header = ByteLayout.load(nvme_tcp_header.self, from: bytes, at: start),
            bytes.count - start >= Int(header.byte_count)
        {
            found.append(Array(bytes[start..<start + Int(header.byte_count)]))
            start += Int(header.byte_count)
        }
        bytes.removeFirst(start)
        return found
    }
}
