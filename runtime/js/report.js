// Where an exception goes that nobody caught, or a rejection that nobody handled: an `error` or `unhandledrejection` event
// at the global object, and if no listener cancels that, the worker's log.
"use strict";

const idl = lethe.use("webidl");
const events = lethe.use("events");

// A listener that throws must not be told of its own error.
let telling = false;

/** Fires the event; true if a listener canceled it. `promise` is undefined for an exception. */
function tell(error, promise) {
  const type = promise === undefined ? "error" : "unhandledrejection";
  if (telling || !events.hasListeners(events.globalTarget, type)) return false;
  telling = true;
  try {
    const event = promise === undefined ? errorEvent(error) : rejectionEvent(error, promise);
    return !events.fire(events.globalTarget, event);
  } finally {
    telling = false;
  }
}

function errorEvent(error) {
  const { ErrorEvent } = lethe.use("event_kinds");
  const { firstLine, format } = lethe.use("inspect");
  const message = idl.isObject(error) ? firstLine(error) : format(error);
  return new ErrorEvent("error", { __proto__: null, error, message: `Uncaught ${message}`, cancelable: true });
}

function rejectionEvent(reason, promise) {
  const { PromiseRejectionEvent } = lethe.use("event_kinds");
  return new PromiseRejectionEvent("unhandledrejection", { __proto__: null, promise, reason, cancelable: true });
}

function report(error) {
  if (!tell(error, undefined)) lethe.ops.logException(error);
}

return {
  tell,
  report,
  reportError(error) {
    idl.required(arguments, 1, "Failed to execute 'reportError'");
    report(error);
  },
};
