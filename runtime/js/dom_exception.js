// DOMException. An instance is a real Error (it has a stack and passes `Error.isError`), but `name` and `message` are
// accessors of the prototype as WebIDL has it; the values sit in private fields stamped onto the error.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");

const CODES = {
  __proto__: null,
  IndexSizeError: 1,
  HierarchyRequestError: 3,
  WrongDocumentError: 4,
  InvalidCharacterError: 5,
  NoModificationAllowedError: 7,
  NotFoundError: 8,
  NotSupportedError: 9,
  InUseAttributeError: 10,
  InvalidStateError: 11,
  SyntaxError: 12,
  InvalidModificationError: 13,
  NamespaceError: 14,
  InvalidAccessError: 15,
  TypeMismatchError: 17,
  SecurityError: 18,
  NetworkError: 19,
  AbortError: 20,
  URLMismatchError: 21,
  QuotaExceededError: 22,
  TimeoutError: 23,
  InvalidNodeTypeError: 24,
  DataCloneError: 25,
};

class Returned {
  constructor(object) {
    return object;
  }
}

let slotsOf;
let isDOMException;

/** Private fields on an object that another constructor made. */
class Slots extends Returned {
  #name;
  #message;
  static {
    isDOMException = (value) => idl.isObject(value) && #name in value;
    slotsOf = (error) => {
      if (!isDOMException(error)) throw new p.TypeError("The receiver is not a DOMException");
      return { name: error.#name, message: error.#message };
    };
  }
  constructor(error, name, message) {
    super(error);
    error.#name = name;
    error.#message = message;
  }
}

class DOMException {
  constructor(message = "", name = "Error") {
    const text = idl.domString(message);
    const kind = idl.domString(name);
    // The stack's first line is made of what `name` and `message` are while it is captured.
    function Named() {}
    Named.prototype = { __proto__: null, name: kind };
    const error = p.construct(p.Error, [text], Named);
    p.captureStackTrace(error, new.target);
    delete error.message;
    p.setPrototypeOf(error, new.target.prototype);
    new Slots(error, kind, text);
    return error;
  }
  get name() {
    return slotsOf(this).name;
  }
  get message() {
    return slotsOf(this).message;
  }
  get code() {
    return CODES[slotsOf(this).name] ?? 0;
  }
}

p.setPrototypeOf(DOMException.prototype, p.Error.prototype);
idl.iface(DOMException, "DOMException", {
  INDEX_SIZE_ERR: 1,
  DOMSTRING_SIZE_ERR: 2,
  HIERARCHY_REQUEST_ERR: 3,
  WRONG_DOCUMENT_ERR: 4,
  INVALID_CHARACTER_ERR: 5,
  NO_DATA_ALLOWED_ERR: 6,
  NO_MODIFICATION_ALLOWED_ERR: 7,
  NOT_FOUND_ERR: 8,
  NOT_SUPPORTED_ERR: 9,
  INUSE_ATTRIBUTE_ERR: 10,
  INVALID_STATE_ERR: 11,
  SYNTAX_ERR: 12,
  INVALID_MODIFICATION_ERR: 13,
  NAMESPACE_ERR: 14,
  INVALID_ACCESS_ERR: 15,
  VALIDATION_ERR: 16,
  TYPE_MISMATCH_ERR: 17,
  SECURITY_ERR: 18,
  NETWORK_ERR: 19,
  ABORT_ERR: 20,
  URL_MISMATCH_ERR: 21,
  QUOTA_EXCEEDED_ERR: 22,
  TIMEOUT_ERR: 23,
  INVALID_NODE_TYPE_ERR: 24,
  DATA_CLONE_ERR: 25,
});

return { DOMException, isDOMException };
