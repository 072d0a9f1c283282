// The whole way on a device, with TensorFlow Lite Micro: samples, features, network, label.
//
// Compile it with lightser_frontend.c, lightser_model.c and the tflite-micro library. `listen` stands
// for whatever fills a buffer from your microphone.
#include <cstdint>

#include "lightser_frontend.h"
#include "lightser_model.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

extern "C" std::size_t listen(std::int16_t *samples, std::size_t most);

namespace {

alignas(16) std::uint8_t arena[LIGHTSER_ARENA_BYTES];
std::int16_t samples[LIGHTSER_SAMPLES];
lightser_scratch scratch;

}  // namespace

int main() {
  tflite::MicroMutableOpResolver<LIGHTSER_N_OPERATIONS> resolver;
#define ADD(operation) \
  if (resolver.Add##operation() != kTfLiteOk) return 1;
  LIGHTSER_OPERATIONS(ADD)
#undef ADD

  tflite::MicroInterpreter interpreter(tflite::GetModel(lightser_model), resolver, arena,
                                       sizeof arena);
  if (interpreter.AllocateTensors() != kTfLiteOk) return 1;

  for (;;) {
    const std::size_t n_samples = listen(samples, LIGHTSER_SAMPLES);
    std::int8_t *features = interpreter.input(0)->data.int8;
    if (lightser_features_int8(samples, n_samples, &scratch, features) != 0) continue;
    if (interpreter.Invoke() != kTfLiteOk) return 1;

    const std::int8_t *answer = interpreter.output(0)->data.int8;
    int best = 0;
    for (int i = 1; i < LIGHTSER_CLASSES; i++) {
      if (answer[i] > answer[best]) best = i;
    }
    const float probability =
        LIGHTSER_OUTPUT_SCALE * static_cast<float>(answer[best] - (LIGHTSER_OUTPUT_ZERO_POINT));
    MicroPrintf("%s %d%%", lightser_labels[best], static_cast<int>(100 * probability + 0.5f));
  }
}
