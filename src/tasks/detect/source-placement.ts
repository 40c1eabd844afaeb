/** @module Source placement: where a picture lies in the input, counted in pixels of its file. */

import type { Region } from "../../image/geometry.ts";
import type { DecodedImage } from "../../image/picture-decoder.ts";
import type { SlotPicture } from "../../pipeline/backend.ts";

/**
 * The placement that maps boxes to the picture as it was before it was shrunk while decoding; the same object for one
 * that was not.
 */
export function sourcePlacement(image: SlotPicture | DecodedImage, placement: Region): Region {
  if (!("sourceWidth" in image) || (image.sourceWidth === image.width && image.sourceHeight === image.height)) {
    return placement;
  }
  const { sourceWidth, sourceHeight } = image;
  return {
    ...placement,
    sourceWidth,
    sourceHeight,
    scaleX: (placement.scaleX * placement.sourceWidth) / sourceWidth,
    scaleY: (placement.scaleY * placement.sourceHeight) / sourceHeight,
  };
}
