// What a user in TypeScript writes; tests/test_web.py compiles it against the packed package.
import { BadAudio, load, loadGate, listen, Stream, type Card, type Prediction, type Segment } from "lightser-web";
import { Adaptation, open, Recognizer, type Smoothing } from "lightser-web/core";

export async function use(samples: Float32Array): Promise<[Prediction, Segment[], Card]> {
  const every: Recognizer = await load("https://example.org/model/", { verify: true });
  const recognizer: Recognizer = every.choosing(["anger", "neutral"]);
  const prediction = await recognizer.predict(samples, 48_000);
  const probability: number | undefined = prediction.probabilities["anger"];
  const smoothing: Smoothing = { timeS: 0.5, margin: probability };
  const stream = new Stream(recognizer, { windowS: 3, hopS: 1, sampleRate: 48_000, smoothing });
  const adaptation: Adaptation = recognizer.adaptation(JSON.parse("{}"));
  await recognizer.adapt(samples, 16_000, adaptation);
  await recognizer.adapted(adaptation).predict(samples, 16_000);
  new Stream(recognizer, { adaptation });
  const gate = await loadGate({ strictness: 3 });
  const segments = [...(await stream.push(samples)), ...(await stream.flush())];
  for await (const segment of listen(recognizer, { hopS: 1, gate, signal: AbortSignal.timeout(1000) })) {
    segments.push(segment);
  }
  const name: string = new BadAudio("no audio").name;
  console.log(name, open);
  // @ts-expect-error a rate is needed
  await recognizer.predict(samples);
  // @ts-expect-error samples are floats
  await recognizer.predict(new Int16Array(1), 16_000);
  return [prediction, segments, recognizer.card];
}
