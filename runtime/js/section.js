// Critical sections over the input gate: while one runs, only events that it began itself enter the actor.
"use strict";

const { ops } = lethe;

/**
 * Runs `work` in a section and gives its result to the code around, before any other event enters. If `work` fails the
 * actor is reset, so nobody around sees the failure.
 */
async function section(work) {
  const id = await ops.sectionBegin();
  let value;
  try {
    value = await work();
  } catch (error) {
    ops.sectionFail(error);
    throw error;
  }
  await ops.sectionEnd(id);
  return value;
}

return { section };
