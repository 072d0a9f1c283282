#include "lightser_voice.h"

#include <math.h>
#include <string.h>

#include "lightser_model.h"

static float value(int8_t code) {
  return LIGHTSER_EMBEDDING_SCALE * (float)(code - LIGHTSER_EMBEDDING_ZERO_POINT);
}

void lightser_voice_reset(lightser_voice *voice) { memset(voice, 0, sizeof *voice); }

void lightser_voice_hear(lightser_voice *voice, const int8_t *embedding) {
  voice->count++;
  for (int i = 0; i < LIGHTSER_EMBEDDING; i++) {
    const float x = value(embedding[i]);
    const float before = x - voice->mean[i];
    voice->mean[i] += before / (float)voice->count;
    voice->m2[i] += before * (x - voice->mean[i]);
  }
}

void lightser_voice_norm(const lightser_voice *voice, float *mean, float *std) {
  const float n = (float)voice->count;
  for (int i = 0; i < LIGHTSER_EMBEDDING; i++) {
    const float m = lightser_training_mean[i], s = lightser_training_std[i];
    mean[i] = (n * voice->mean[i] + LIGHTSER_MEAN_COUNTS * m) / (n + LIGHTSER_MEAN_COUNTS);
    std[i] = sqrtf((voice->m2[i] + LIGHTSER_VARIANCE_COUNTS * s * s) /
                   (n + LIGHTSER_VARIANCE_COUNTS));
  }
}

void lightser_probabilities(const int8_t *answer, const int8_t *embedding, const float *mean,
                            const float *std, float *probabilities) {
  if (mean == NULL || std == NULL) {
    for (int c = 0; c < LIGHTSER_CLASSES; c++) {
      probabilities[c] = LIGHTSER_OUTPUT_SCALE * (float)(answer[c] - LIGHTSER_OUTPUT_ZERO_POINT);
    }
    return;
  }
  float most = -INFINITY, sum = 0;
  for (int c = 0; c < LIGHTSER_CLASSES; c++) {
    float logit = lightser_head_bias[c];
    for (int i = 0; i < LIGHTSER_EMBEDDING; i++) {
      logit += lightser_head_weights[c][i] * (value(embedding[i]) - mean[i]) / std[i];
    }
    probabilities[c] = logit;
    if (logit > most) most = logit;
  }
  for (int c = 0; c < LIGHTSER_CLASSES; c++) {
    probabilities[c] = expf(probabilities[c] - most);
    sum += probabilities[c];
  }
  for (int c = 0; c < LIGHTSER_CLASSES; c++) probabilities[c] /= sum;
}
