/**
 * Let the event loop turn, so that a page draws and answers between two pieces of work. Unlike a
 * timer, it takes no time of its own, in hidden tabs either.
 *
 * @returns {Promise<void>}
 */
export function breathe() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
