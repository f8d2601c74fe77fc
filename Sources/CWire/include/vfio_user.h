#ifndef SOFTSNAP_VFIO_USER_H
#define SOFTSNAP_VFIO_USER_H

#include "layout.h"

#endif
