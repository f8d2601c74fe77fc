internal import Emulation
internal import JSONRPC

/// How long drivers waited while services changed (gap.json).
extension MethodRegistry {
    func registerPauses(_ context: StorageContext) {
        register("softsnap_gap_histogram_get") { parameters in
            var reports = context.controllers.pauses.reports + context.nvme.pauses.reports
            if let vuid = parameters.optionalString("vuid") {
                reports = reports.filter { $0.vuid == vuid }
            }
            return .array(reports.map(listing))
        }
    }
}

private func listing(_ report: PauseHistograms.Report) -> JSONValue {
    [
        "vuid": .string(report.vuid), "kind": .string(report.kind.rawValue),
        "count": JSONValue(report.count), "p50_us": JSONValue(report.medianMicroseconds),
        "p99_us": JSONValue(report.p99Microseconds),
        "max_us": JSONValue(report.maximumMicroseconds),
        "last_us": JSONValue(report.lastMicroseconds),
        "buckets": .array(
            report.buckets.map { bucket in
                [
                    "upto_us": bucket.upToMicroseconds.map { JSONValue($0) } ?? .null,
                    "count": JSONValue(bucket.count),
                ]
            }),
    ]
}
