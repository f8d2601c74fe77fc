/// Where a controller is in its life. Every step that takes time has a name, so that a second
/// request in the middle of it is refused by the state itself.
public enum ControllerState: Equatable, Sendable {
    case opening
    case running
    case suspending(from: Resting)
    /// `eventsOnly`: I/O goes on, what the host sets up waits.
    case suspended(eventsOnly: Bool)
    case resuming
    case changingDevice(then: Resting)
    case closing(from: Resting)
    case closed

    /// A state that lasts until somebody asks for another.
    public enum Resting: Equatable, Sendable {
        case running
        case suspended(eventsOnly: Bool)

        var state: ControllerState {
            switch self {
            case .running: .running
            case .suspended(let eventsOnly): .suspended(eventsOnly: eventsOnly)
            }
        }
    }

    public enum Event: String, Sendable {
        case opened
        case suspend
        case suspended
        case eventsSuspended = "suspend (events only)"
        case abandonSuspend = "give up suspending"
        case resume
        case resumed
        case changeDevice = "change the bdev"
        case deviceChanged
        case close = "destroy"
        case abandonClose = "give up destroying"
        case closed
    }

    /// The state that follows `event`; nil when the step is not legal.
    func after(_ event: Event) -> ControllerState? {
        switch (self, event) {
        case (.opening, .opened): .running
        case (.opening, .suspended): .suspended(eventsOnly: false)
        case (.running, .suspend): .suspending(from: .running)
        case (.suspended(eventsOnly: true), .suspend):
            .suspending(from: .suspended(eventsOnly: true))
        case (.suspending, .suspended): .suspended(eventsOnly: false)
        case (.suspending(let resting), .abandonSuspend): resting.state
        case (.running, .eventsSuspended): .suspended(eventsOnly: true)
        case (.suspended, .resume): .resuming
        case (.resuming, .resumed): .running
        case (.running, .changeDevice): .changingDevice(then: .running)
        case (.suspended(let eventsOnly), .changeDevice):
            .changingDevice(then: .suspended(eventsOnly: eventsOnly))
        case (.changingDevice(let resting), .deviceChanged): resting.state
        case (.running, .close): .closing(from: .running)
        case (.suspended(let eventsOnly), .close):
            .closing(from: .suspended(eventsOnly: eventsOnly))
        case (.closing(let resting), .abandonClose): resting.state
        case (.closing, .closed): .closed
        default: nil
        }
    }

    /// What the list prints.
    public var name: String {
        switch self {
        case .opening, .closed: "STOPPED"
        case .running, .resuming: "STARTED"
        case .suspending: "SUSPENDING"
        case .suspended(let eventsOnly): eventsOnly ? "STARTED" : "SUSPENDED"
        case .changingDevice(let resting), .closing(let resting): resting.state.name
        }
    }
}
