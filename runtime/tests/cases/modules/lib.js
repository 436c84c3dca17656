// Live bindings.
export default "lib"; export let count = 1; export const bump = () => count++;
