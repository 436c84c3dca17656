// Imported dynamically.
import { count } from "./lib.js"; export default `late sees ${count}`;
