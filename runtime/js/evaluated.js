// Builtins that were evaluated on demand and whose objects others must recognize. Such a builtin puts its exports here
// by its own name; a value can only be a Blob if `evaluated.blob` exists. So nobody evaluates a builtin just to ask.
"use strict";

return { __proto__: null };
