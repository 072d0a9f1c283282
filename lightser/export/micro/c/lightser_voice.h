/* What was heard of a voice, without labels, and answers that go by it: C99, without malloc.
 *
 * The network's second output is its embedding, from which the last layer tells emotions. It is
 * standardised here by a mean and a deviation, which are those of training or of a voice, and
 * given to that layer in single precision. A voice that shows one emotion only is the known way to
 * fail: what is taken off is what all that was heard has in common.
 */
#ifndef LIGHTSER_VOICE_H
#define LIGHTSER_VOICE_H

#include <stdint.h>

#include "lightser_head.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Running statistics (Welford); to be kept as they are, in the numbers of this processor. */
typedef struct {
  uint32_t count;                /* windows heard */
  float mean[LIGHTSER_EMBEDDING];
  float m2[LIGHTSER_EMBEDDING];  /* sum of squared deviations from the mean */
} lightser_voice;

/* Nothing was heard yet. */
void lightser_voice_reset(lightser_voice *voice);

/* Hear a window: the second output of the network, LIGHTSER_EMBEDDING codes. */
void lightser_voice_hear(lightser_voice *voice, const int8_t *embedding);

/* Mean and deviation, LIGHTSER_EMBEDDING each, drawn towards those of training while little was
 * heard. */
void lightser_voice_norm(const lightser_voice *voice, float *mean, float *std);

/* Probabilities, LIGHTSER_CLASSES, from both outputs of the network.
 *
 * Without mean and std, which may be NULL, they are the network's own answer, and the embedding is
 * not looked at. */
void lightser_probabilities(const int8_t *answer, const int8_t *embedding, const float *mean,
                            const float *std, float *probabilities);

#ifdef __cplusplus
}
#endif
#endif
