// `reportError`, and where an exception goes that a listener threw: an `error` event at the global object, and if
// nobody cancels that, the worker's log.
"use strict";

const idl = lethe.use("webidl");
const events = lethe.use("events");

// An `error` listener that throws must not be told of its own error.
let reporting = false;

function report(error) {
  if (!reporting && events.hasListeners(events.globalTarget, "error")) {
    reporting = true;
    try {
      const { ErrorEvent } = lethe.use("event_kinds");
      const { firstLine, format } = lethe.use("inspect");
      const message = idl.isObject(error) ? firstLine(error) : format(error);
      const event = new ErrorEvent("error", { error, message: `Uncaught ${message}`, cancelable: true });
      if (!events.fire(events.globalTarget, event)) return;
    } finally {
      reporting = false;
    }
  }
  lethe.ops.log("exception", lethe.use("inspect").format(error));
}

return {
  report,
  reportError(error) {
    idl.required(arguments, 1, "Failed to execute 'reportError'");
    report(error);
  },
};
