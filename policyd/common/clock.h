/* SPDX-License-Identifier: MIT */
/** policyd's clock is the one of all programs. */
#ifndef POLICYD_COMMON_CLOCK_H
#define POLICYD_COMMON_CLOCK_H

#include "restante/clock.h"

#endif
