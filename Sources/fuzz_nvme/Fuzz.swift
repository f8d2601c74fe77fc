/// To be filled.
@main struct Fuzz {
    static func main() {}
}
