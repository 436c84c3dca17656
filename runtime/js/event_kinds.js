// Events that carry something: ErrorEvent, MessageEvent, CloseEvent, PromiseRejectionEvent.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");
const { Event } = lethe.use("events");

class ErrorEvent extends Event {
  #message;
  #filename;
  #lineno;
  #colno;
  #error;
  constructor(type, init = undefined) {
    idl.required(arguments, 1, "Failed to construct 'ErrorEvent'");
    super(type, init);
    const { colno = 0, error, filename = "", lineno = 0, message = "" } = idl.dictionary(init, "ErrorEvent");
    this.#colno = idl.unsigned(colno, 32);
    this.#error = error;
    this.#filename = idl.usvString(filename);
    this.#lineno = idl.unsigned(lineno, 32);
    this.#message = idl.domString(message);
  }
  get message() {
    return this.#message;
  }
  get filename() {
    return this.#filename;
  }
  get lineno() {
    return this.#lineno;
  }
  get colno() {
    return this.#colno;
  }
  get error() {
    return this.#error;
  }
}
idl.iface(ErrorEvent, "ErrorEvent");

class MessageEvent extends Event {
  #data;
  #origin;
  #lastEventId;
  #source;
  #ports;
  constructor(type, init = undefined) {
    idl.required(arguments, 1, "Failed to construct 'MessageEvent'");
    super(type, init);
    const read = idl.dictionary(init, "MessageEvent");
    const { data = null, lastEventId = "", origin = "", ports, source = null } = read;
    this.#data = data;
    this.#lastEventId = idl.domString(lastEventId);
    this.#origin = idl.usvString(origin);
    this.#ports = p.freeze(ports === undefined ? [] : idl.sequenceOf(ports, (port) => port, "MessageEvent: ports"));
    this.#source = source;
  }
  get data() {
    return this.#data;
  }
  get origin() {
    return this.#origin;
  }
  get lastEventId() {
    return this.#lastEventId;
  }
  get source() {
    return this.#source;
  }
  get ports() {
    return this.#ports;
  }
}
idl.iface(MessageEvent, "MessageEvent");

class CloseEvent extends Event {
  #wasClean;
  #code;
  #reason;
  constructor(type, init = undefined) {
    idl.required(arguments, 1, "Failed to construct 'CloseEvent'");
    super(type, init);
    const { code = 0, reason = "", wasClean = false } = idl.dictionary(init, "CloseEvent");
    this.#code = idl.unsigned(code, 16);
    this.#reason = idl.usvString(reason);
    this.#wasClean = !!wasClean;
  }
  get wasClean() {
    return this.#wasClean;
  }
  get code() {
    return this.#code;
  }
  get reason() {
    return this.#reason;
  }
}
idl.iface(CloseEvent, "CloseEvent");

class PromiseRejectionEvent extends Event {
  #promise;
  #reason;
  constructor(type, init) {
    idl.required(arguments, 2, "Failed to construct 'PromiseRejectionEvent'");
    super(type, init);
    const { promise, reason } = idl.dictionary(init, "PromiseRejectionEvent");
    if (!idl.isObject(promise)) throw new p.TypeError("Failed to construct 'PromiseRejectionEvent': no promise");
    this.#promise = promise;
    this.#reason = reason;
  }
  get promise() {
    return this.#promise;
  }
  get reason() {
    return this.#reason;
  }
}
idl.iface(PromiseRejectionEvent, "PromiseRejectionEvent");

return { ErrorEvent, MessageEvent, CloseEvent, PromiseRejectionEvent };
