// What tells others of events that carry details, an EventTarget by its types alone.

/** @typedef {{addEventListener(name: string, heard: (event: CustomEvent<any>) => unknown): void} & EventTarget} Emits */

export const Emitter = /** @type {new () => Emits} */ (EventTarget);
