// structuredClone over V8's value serializer.
"use strict";

const { ops } = lethe;

return {
  structuredClone(value, options = undefined) {
    if (arguments.length === 0) throw new TypeError("structuredClone needs a value");
    const transfer = options === undefined || options === null ? undefined : options.transfer;
    return ops.structuredClone(value, transfer === undefined ? [] : [...transfer]);
  },
};
