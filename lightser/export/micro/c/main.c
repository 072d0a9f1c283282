/* The front end on a computer: no microphone, no network, only what features come out.
 *
 *   cc -std=c99 -O2 main.c lightser_frontend.c lightser_model.c -lm -o lightser && ./lightser < clip.raw
 *
 * clip.raw is 16-bit mono in this machine's byte order, such as from
 *   ffmpeg -i clip.wav -f s16le -ac 1 -ar 16000 clip.raw
 */
#include <stdio.h>

#include "lightser_frontend.h"
#include "lightser_model.h"

static int16_t samples[LIGHTSER_SAMPLES];
static int8_t features[LIGHTSER_FRAMES * LIGHTSER_BANDS];
static lightser_scratch scratch;

int main(void) {
  const size_t n_samples = fread(samples, sizeof *samples, LIGHTSER_SAMPLES, stdin);
  if (lightser_features_int8(samples, n_samples, &scratch, features) != 0) {
    fputs("no samples on standard input\n", stderr);
    return 1;
  }
  printf("model: %d bytes, arena: %d bytes, labels:", LIGHTSER_MODEL_BYTES, LIGHTSER_ARENA_BYTES);
  for (int i = 0; i < LIGHTSER_CLASSES; i++) printf(" %s", lightser_labels[i]);
  printf("\nfront end: %u bytes of scratch, features %d x %d, %.2f s heard\n",
         (unsigned)sizeof scratch, LIGHTSER_FRAMES, LIGHTSER_BANDS,
         (double)n_samples / LIGHTSER_RATE);
  for (int frame = 0; frame < LIGHTSER_FRAMES; frame += LIGHTSER_FRAMES / 4) {
    printf("frame %3d:", frame);
    for (int band = 0; band < 10; band++) {
      printf(" %4d", features[frame * LIGHTSER_BANDS + band]);
    }
    puts(" ...");
  }
  return 0;
}
