// queueMicrotask, and `self`.
"use strict";

const p = lethe.use("primordials");
const idl = lethe.use("webidl");

return {
  self: globalThis,
  queueMicrotask(callback) {
    const where = "Failed to execute 'queueMicrotask'";
    idl.required(arguments, 1, where);
    idl.callback(callback, `${where}: the argument`);
    p.promiseThen(p.promiseResolve(), () => {
      try {
        callback();
      } catch (error) {
        lethe.use("report").report(error);
      }
    });
  },
};
