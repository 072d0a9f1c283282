/** What goes wrong, in one line that says what to do. */
export class LightserError extends Error {
  name = "LightserError";
}

/** Audio that cannot be listened to. */
export class BadAudio extends LightserError {
  name = "BadAudio";
}

/** A model folder that is incomplete, changed, or none. */
export class BadModel extends LightserError {
  name = "BadModel";
}
