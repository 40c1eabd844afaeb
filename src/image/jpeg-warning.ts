/** @module JpegWarning: which warnings of libjpeg leave every pixel right. */

/** Beginnings of warnings about bytes that belong to no pixel; the wording has been the same since libjpeg 6. */
const HARMLESS: readonly RegExp[] = [
  /extraneous bytes before marker/i,
  /unknown JFIF revision/i,
  /unknown Adobe color transform/i,
  /invalid SOS parameters for sequential/i,
  /corrupt JPEG data: bad ICC marker/i,
];

/**
 * True if a picture decoded with this warning is whole. What is not known to be harmless is not: a file that ends too
 * early and damaged entropy-coded data are warnings to libjpeg as well.
 *
 * @param text the first warning
 * @see jerror.h of libjpeg-turbo, the JWRN_ messages
 */
export function isHarmlessWarning(text: string): boolean {
  return HARMLESS.some((pattern) => pattern.test(text));
}
