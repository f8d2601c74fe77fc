internal import CWire
internal import Memory

struct InFlightJournal {
    enum Field {
        static let sequence = 64
        static let completion = 72
        static let submissionQueue = 76
        static let state = 78
        static let stage = 79
    }
}
