/// Where a controller is in its life. Every step that takes time has a name, so that a second
/// request in the middle of it is refused by the state itself.
public enum ControllerState: Equatable, Sendable {
    case opening
    case running
    case suspending(from: Resting)
    /// `eventsOnly`: I/O goes on, what the host sets up waits.
    case suspended(eventsOnly: Bool)
    /// Stopped, and whoever stands by next gets the function.
    case offered
    /// Another service's controller has the function.
    case handedOver
    /// Waits for another service to hand the function over.
    case standby
    /// Has waited in vain.
    case expired
    case resuming
    case changingDevice(then: Resting)
    case closing(from: Resting)
    case closed

    /// A state that lasts until somebody asks for another.
    public enum Resting: Equatable, Sendable {
        case running
        case suspended(eventsOnly: Bool)
        case handedOver
        case standby
        case expired

        var state: ControllerState {
            switch self {
            case .running: .running
            case .suspended(let eventsOnly): .suspended(eventsOnly: eventsOnly)
            case .handedOver: .handedOver
            case .standby: .standby
            case .expired: .expired
            }
        }

        /// Whether the controller has the function's serving lease.
        var holdsLease: Bool {
            switch self {
            case .running, .suspended: true
            case .handedOver, .standby, .expired: false
            }
        }
    }

    public enum Event: String, Sendable {
        case opened
        case suspend
        case suspended
        case eventsSuspended = "suspend (events only)"
        case abandonSuspend = "give up suspending"
        case handOver = "be handed over"
        case offered
        case handedOver
        case standBy
        case expired
        case takeOver
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
        case (.running, .handOver): .suspending(from: .running)
        case (.suspended(let eventsOnly), .handOver):
            .suspending(from: .suspended(eventsOnly: eventsOnly))
        case (.suspending, .offered): .offered
        case (.suspending, .handedOver), (.offered, .handedOver): .handedOver
        case (.opening, .standBy): .standby
        case (.standby, .takeOver), (.offered, .resume): .resuming
        case (.resuming, .suspended): .suspended(eventsOnly: false)
        case (.standby, .expired): .expired
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
        case (.offered, .close): .closing(from: .suspended(eventsOnly: false))
        case (.handedOver, .close): .closing(from: .handedOver)
        case (.standby, .close): .closing(from: .standby)
        case (.expired, .close): .closing(from: .expired)
        case (.closing(let resting), .abandonClose): resting.state
        case (.closing, .closed): .closed
        default: nil
        }
    }

    /// What the list prints.
    public var name: String {
        switch self {
        case .opening, .closed, .expired: "STOPPED"
        case .running, .resuming: "STARTED"
        case .suspending: "SUSPENDING"
        case .suspended(let eventsOnly): eventsOnly ? "STARTED" : "SUSPENDED"
        case .offered, .handedOver, .standby: "SUSPENDED"
        case .changingDevice(let resting), .closing(let resting): resting.state.name
        }
    }

    /// Its part in a live update, as the list prints it; nil when it has none.
    public var liveUpdate: String? {
        switch self {
        case .suspended(eventsOnly: true): "preparing"
        case .offered: "offered"
        case .handedOver: "handed_over"
        case .standby: "listener"
        case .expired: "expired"
        default: nil
        }
    }

    /// In the words of a refusal.
    var situation: String {
        switch self {
        case .offered: "offered to another service"
        case .handedOver: "handed over to another service"
        case .standby: "a listener, and waits for the function"
        case .expired: "a listener that has waited in vain"
        default: name.lowercased()
        }
    }
}
