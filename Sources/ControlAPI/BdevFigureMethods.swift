internal import Bdev
internal import JSONRPC
internal import Platform

/// Counters, latency histograms and rate limits of bdevs.
extension MethodRegistry {
    func registerBdevFigures(_ context: StorageContext, _ facts: any ServiceFacts) {
        registerCounters(context, facts)
        registerHistograms(context)
        register("bdev_set_qd_sampling_period") { parameters in
            let device = try context.bdevs.device(parameters.string("name"))
            context.sampler.sample(device, everyMicroseconds: parameters.unsigned("period"))
            return true
        }
        register("bdev_set_qos_limit") { parameters in
            let device = try context.bdevs.device(parameters.string("name"))
            try device.limit(parameters)
            return true
        }
    }

    private func registerCounters(_ context: StorageContext, _ facts: any ServiceFacts) {
        register("bdev_get_iostat") { parameters in
            let names =
                parameters.optionalStrings("names")
                ?? parameters.optionalString("name").map { [$0] } ?? []
            let named = try names.map { try context.bdevs.device($0) }
            var answer: JSONObject = [
                "tick_rate": JSONValue(Ticks.perSecond), "ticks": JSONValue(Ticks.now().count),
            ]
            let reset = IOStatistics.Reset(word: parameters.string("reset_mode"))
            if parameters.flag("per_channel") {
                guard let device = named.first, named.count == 1 else {
                    throw BdevError(ErrorNumber.invalid, "per_channel needs one bdev")
                }
                answer.append("name", .string(device.name))
                answer.append("channels", .array(await device.channels(facts)))
                _ = device.statistics(reset: reset)
            } else {
                let devices = names.isEmpty ? context.bdevs.devices : named
                answer.append(
                    "bdevs", .array(devices.map { context.statistics(of: $0, reset: reset) }))
            }
            return .object(answer)
        }
        register("bdev_reset_iostat") { parameters in
            let named = try parameters.optionalString("name").map { try context.bdevs.device($0) }
            for device in named.map({ [$0] }) ?? context.bdevs.devices {
                _ = device.statistics(reset: IOStatistics.Reset(word: parameters.string("mode")))
            }
            return true
        }
    }

    private func registerHistograms(_ context: StorageContext) {
        register("bdev_enable_histogram") { parameters in
            let device = try context.bdevs.device(parameters.string("name"))
            guard parameters.flag("enable") else {
                device.stopHistogram()
                return true
            }
            let word = parameters.optionalString("opc")
            let operation = word.flatMap { BlockOperation(spdkName: $0) }
            if word != nil, operation == nil { throw RPCError.internalError("Invalid Io type") }
            device.startHistogram(of: operation)
            return true
        }
        register("bdev_get_histogram") { parameters in
            let device = try context.bdevs.device(parameters.string("name"))
            let buckets =
                device.latencyHistogram?.buckets
                ?? Array(repeating: 0, count: LatencyHistogram.bucketCount)
            let bytes = buckets.flatMap { bucket in
                (0..<8).map { UInt8(truncatingIfNeeded: bucket >> (8 * $0)) }
            }
            // `bucket_shift` is of SPDK up to 24.09, the next three of 25.05 and later.
            let shift = LatencyHistogram.bucketShift
            return [
                "histogram": .string(Base64.encode(bytes)), "bucket_shift": JSONValue(shift),
                "granularity": JSONValue(shift), "min_range": 0,
                "max_range": JSONValue(LatencyHistogram.bucketCount >> shift - 1),
                "tsc_rate": JSONValue(Ticks.perSecond),
            ]
        }
    }
}

extension StorageContext {
    fileprivate func statistics(
        of device: BlockDevice, reset: IOStatistics.Reset
    ) -> JSONValue {
        var object: JSONObject = ["name": .string(device.name)]
        for member in device.statistics(reset: reset).json.members {
            object.append(member.key, member.value)
        }
        if let samples = device.queueDepthFigures {
            object.append("queue_depth_polling_period", JSONValue(samples.periodMicroseconds))
            object.append("queue_depth", JSONValue(samples.queueDepth))
            object.append("io_time", JSONValue(samples.busyMicroseconds))
            object.append("weighted_io_time", JSONValue(samples.weightedMicroseconds))
        }
        return .object(object)
    }
}

extension BlockDevice {
    /// The counters of each open channel, under the id that thread_get_stats has for its thread.
    fileprivate func channels(_ facts: any ServiceFacts) async -> [JSONValue] {
        let threads = await facts.threads()
        var ids: [Int: UInt64] = [:]
        for reactor in await facts.reactors() {
            ids[reactor.threadID] = threads.first { $0.core == reactor.core }?.id
        }
        return channelStatistics().map { channel in
            var object: JSONObject = ["thread_id": JSONValue(ids[Int(channel.threadID)] ?? 0)]
            for member in channel.statistics.json.members {
                object.append(member.key, member.value)
            }
            return .object(object)
        }
    }

    /// Limits that are left out stay as they are.
    fileprivate func limit(_ parameters: Parameters) throws(RPCError) {
        let words = ["rw_ios_per_sec", "rw_mbytes_per_sec", "r_mbytes_per_sec", "w_mbytes_per_sec"]
        guard words.contains(where: parameters.has) else {
            throw .errno(ErrorNumber.invalid, message: "No rate limits specified")
        }
        var limits = rateLimits
        limits.requestsPerSecond =
            parameters.optionalUnsigned(words[0]) ?? limits.requestsPerSecond
        limits.mebibytesPerSecond =
            parameters.optionalUnsigned(words[1]) ?? limits.mebibytesPerSecond
        limits.readMebibytesPerSecond =
            parameters.optionalUnsigned(words[2]) ?? limits.readMebibytesPerSecond
        limits.writeMebibytesPerSecond =
            parameters.optionalUnsigned(words[3]) ?? limits.writeMebibytesPerSecond
        rateLimits = limits
    }
}

extension IOStatistics.Reset {
    fileprivate init(word: String) {
        switch word {
        case "all": self = .all
        case "maxmin": self = .extremes
        case "error": self = .errors
        default: self = .nothing
        }
    }
}

extension IOStatistics {
    /// SPDK's counters; those of errors only when there were some.
    fileprivate var json: JSONObject {
        var object = JSONObject()
        let operations = [
            ("read", "bytes_read", read), ("write", "bytes_written", write),
            ("unmap", "bytes_unmapped", unmap), ("copy", "bytes_copied", Operation()),
        ]
        for (name, bytes, operation) in operations {
            object.append(bytes, JSONValue(operation.byteCount))
            object.append("num_\(name)_ops", JSONValue(operation.requestCount))
        }
        for (name, _, operation) in operations {
            object.append("\(name)_latency_ticks", JSONValue(operation.latencyTicks))
            object.append("max_\(name)_latency_ticks", JSONValue(operation.maximumLatencyTicks))
            object.append("min_\(name)_latency_ticks", JSONValue(operation.minimumLatencyTicks))
        }
        var errors = JSONObject()
        if abortedCount > 0 { errors.append("aborted", JSONValue(abortedCount)) }
        if failedCount > 0 { errors.append("failed", JSONValue(failedCount)) }
        object.append("io_error", .object(errors))
        return object
    }
}
