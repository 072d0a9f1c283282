/* From 16-bit samples to what the network takes, in C99 and single precision, without malloc.
 *
 * The same steps as lightser's own front end in Python, whose tables are in lightser_tables.h.
 * Nothing here is static but constants, so any number of clips may be in work at once.
 */
#ifndef LIGHTSER_FRONTEND_H
#define LIGHTSER_FRONTEND_H

#include <stddef.h>
#include <stdint.h>

#include "lightser_config.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Memory that is used during a call and holds nothing afterwards. */
typedef struct {
  float re[LIGHTSER_FFT / 2];
  float im[LIGHTSER_FFT / 2];
  float bands[LIGHTSER_MELS];
  float features[LIGHTSER_BANDS];
#ifdef LIGHTSER_PER_MILLE
  uint16_t loudest[LIGHTSER_LOUDEST];
#endif
} lightser_scratch;

/* Features of a clip as the network sees them: LIGHTSER_FRAMES rows of LIGHTSER_BANDS, int8.
 *
 * `samples` are 16-bit, mono, at LIGHTSER_RATE hertz. A clip shorter than LIGHTSER_SAMPLES counts
 * as one with silence on both sides. Returns 0, or -1 if there are no samples or too many. */
int lightser_features_int8(const int16_t *samples, size_t n_samples, lightser_scratch *scratch,
                           int8_t *features);

/* The same in single precision, before standardisation and quantisation. */
int lightser_features(const int16_t *samples, size_t n_samples, lightser_scratch *scratch,
                      float *features);

#ifdef LIGHTSER_RANGE_DB
/* A window that moves with the microphone: a Fourier transform for each hop, never one again.
 *
 * It keeps band energies instead of samples, in 1/128 dB: half the memory. The features of a window
 * are relative to its loudest band, so they are made anew for each answer. */
typedef struct {
  int16_t samples[LIGHTSER_FFT];                        /* the last ones, in order */
  int16_t decibels[LIGHTSER_FRAMES][LIGHTSER_MELS];     /* a ring of frames */
  size_t next;                                          /* frame of the ring to be written */
  lightser_scratch scratch;
} lightser_stream;

/* Begin with silence. */
void lightser_stream_reset(lightser_stream *stream);

/* Hear the next LIGHTSER_HOP samples. */
void lightser_stream_push(lightser_stream *stream, const int16_t *samples);

/* Features of the last LIGHTSER_SAMPLES or so: LIGHTSER_FRAMES rows of LIGHTSER_BANDS, int8. */
void lightser_stream_int8(lightser_stream *stream, int8_t *features);

/* The same in single precision, before standardisation and quantisation. */
void lightser_stream_features(lightser_stream *stream, float *features);
#endif

#ifdef __cplusplus
}
#endif
#endif
