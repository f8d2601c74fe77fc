internal import CJSON

/// A tree that json-c built, freed with its owner.
///
/// json-c alone is too lenient and loses numbers (`-0`, more than 64 bits), so it only sees what
/// the scanner took, and each number is replaced by the scanner's literal. Both walk the text in
/// document order, and keys are unique: the n-th number of the tree is the n-th of the text.
@safe struct JSONTree: ~Copyable {
    private let root: OpaquePointer?
    /// Whether json-c took the text; if not the tree is empty.
    let isComplete: Bool

    init(_ bytes: [UInt8]) {
        // The scanner is the limit: json-c counts a scalar as a level and needs one to spare.
        let tokener = unsafe json_tokener_new_ex(Int32(JSONLimits.request.depth + 2))
        defer { unsafe json_tokener_free(tokener) }
        // A number at the top ends with the byte after it.
        let closed = bytes + [UInt8(ascii: " ")]
        unsafe root = closed.withUnsafeBytes { buffer in
            unsafe json_tokener_parse_ex(
                tokener, buffer.baseAddress?.assumingMemoryBound(to: CChar.self),
                Int32(buffer.count))
        }
        isComplete = unsafe json_tokener_get_error(tokener) == json_tokener_success
    }

    deinit { _ = unsafe json_object_put(root) }

    /// The tree as a value, with `numbers` in document order.
    borrowing func value(numbers: [JSONNumber]) -> JSONValue {
        var rest = numbers[...]
        let value = unsafe JSONTree.value(root, &rest)
        precondition(rest.isEmpty, "json-c saw fewer numbers than the scanner")
        return value
    }

    /// json-c holds null as a null pointer.
    private static func value(
        _ node: OpaquePointer?, _ numbers: inout ArraySlice<JSONNumber>
    ) -> JSONValue {
        switch unsafe json_object_get_type(node) {
        case json_type_boolean: return .bool(unsafe json_object_get_boolean(node) != 0)
        case json_type_int, json_type_double: return .number(numbers.removeFirst())
        case json_type_string:
            let count = Int(unsafe json_object_get_string_len(node))
            let start = unsafe UnsafeRawPointer(json_object_get_string(node))
            let bytes = unsafe UnsafeRawBufferPointer(start: start, count: count)
            return .string(unsafe String(decoding: bytes, as: UTF8.self))
        case json_type_array:
            let count = unsafe json_object_array_length(node)
            return .array(
                (0..<count).map { index in
                    unsafe value(json_object_array_get_idx(node, index), &numbers)
                })
        case json_type_object: return .object(unsafe object(node, &numbers))
        default: return .null
        }
    }

    private static func object(
        _ node: OpaquePointer?, _ numbers: inout ArraySlice<JSONNumber>
    ) -> JSONObject {
        var object = JSONObject()
        var position = unsafe json_object_iter_begin(node)
        var end = unsafe json_object_iter_end(node)
        while unsafe json_object_iter_equal(&position, &end) == 0 {
            if let name = unsafe json_object_iter_peek_name(&position) {
                let member = unsafe json_object_iter_peek_value(&position)
                object.append(unsafe String(cString: name), unsafe value(member, &numbers))
            }
            unsafe json_object_iter_next(&position)
        }
        return object
    }
}
