/* SPDX-License-Identifier: MIT */
/**
 * The users who are signed in. A user has one live session, and a newer sign-in
 * wins.
 *
 * Every registration gets an epoch, larger than all before it. An action for a
 * session names the epoch, so a late action of a replaced session has no
 * effect. In memory only: presence is the live connection.
 */
#ifndef RESTANTE_REGISTRY_H
#define RESTANTE_REGISTRY_H

#include "restante/str.h"

struct rst_registration {
	struct rst_str user; /**< view, valid until it is removed */
	uint64_t session;    /**< the caller's name for the connection */
	uint64_t epoch;
	void *ctx; /**< the caller's */
};

struct rst_registry;

struct rst_registry *rst_registry_new(void);
void rst_registry_free(struct rst_registry **r);
/**
 * Register a session of user, in place of an older one.
 * @param old_r the registration that this one replaces (its `user` view is
 *        valid until the next call); session 0, which no session has: none
 * @return the new epoch
 */
uint64_t rst_registry_add(struct rst_registry *r, struct rst_str user,
			  uint64_t session, void *ctx,
			  struct rst_registration *old_r);
/** @return whether user is signed in */
bool rst_registry_find(const struct rst_registry *r, struct rst_str user,
		       struct rst_registration *reg_r);
/** Remove user's registration if it still has this epoch.
    @return whether it had */
bool rst_registry_remove(struct rst_registry *r, struct rst_str user,
			 uint64_t epoch);

#endif
